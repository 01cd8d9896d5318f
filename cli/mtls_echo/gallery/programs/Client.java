import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** One request by Java's own HTTPS: URL CA; 1 if it fails. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        KeyStore anchors = KeyStore.getInstance(KeyStore.getDefaultType());
        anchors.load(null, null);
        try (FileInputStream file = new FileInputStream(arguments[1])) {
            int number = 0;
            for (Certificate each : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                anchors.setCertificateEntry("anchor-" + number++, each);
            }
        }
        TrustManagerFactory managers =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(anchors);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        HttpsURLConnection connection =
                (HttpsURLConnection) URI.create(arguments[0]).toURL().openConnection();
        connection.setSSLSocketFactory(context.getSocketFactory());
        connection.setConnectTimeout(8000);
        connection.setReadTimeout(8000);
        try (InputStream answer = connection.getInputStream()) {
            answer.readAllBytes();
            System.exit(connection.getResponseCode() == 200 ? 0 : 1);
        } catch (IOException error) {
            System.err.println(error);
            System.exit(1);
        }
    }
}
